"""What a run tells: its epochs as a table, its end as plain values."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

from mobileone.evaluation.metrics import EvalResult
from mobileone.training.watch.records import (
    COLUMNS,
    MAX_CLASS_COLUMNS,
    WALL_CLOCK,
    EpochRecord,
    FitResult,
    best_record,
    metrics_table,
    named_values,
)


def record(epoch: int, acc1: float | None) -> EpochRecord:
    return EpochRecord(
        epoch=epoch,
        step=3 * epoch,
        train_loss=1 / 3,
        val_loss=None if acc1 is None else 0.5,
        metrics={} if acc1 is None else {"acc1": acc1, "acc5": 100.0},
        lr=1e-4,
        weight_decay=1e-5,
        seconds=1234.5678,
        images_per_second=10.0,
        data_wait=0.125,
    )


def test_the_table_has_a_line_an_epoch_and_nothing_where_nothing_was_evaluated() -> None:
    rows = list(csv.DictReader(io.StringIO(metrics_table([record(1, None), record(2, 75.0)]))))
    columns = list(COLUMNS.values())
    place = columns.index("")
    figures = ["acc@1", "acc@5", "macro_f1", "balanced_acc"]
    assert list(rows[0]) == columns[:place] + figures + columns[place + 1 :]
    assert [row["acc@1"] for row in rows] == ["", "75"]
    assert (rows[1]["train_loss"], rows[1]["seconds"], rows[1]["lr"]) == ("0.333333", "1234.57", "0.0001")
    assert set(WALL_CLOCK) < set(rows[0])


def test_a_result_goes_into_json() -> None:
    last = EvalResult(num_images=8, metrics={"acc1": 75.0, "acc5": 100.0}, loss=0.5)
    result = FitResult(
        run_dir=Path("runs/a"),
        select="acc1",
        best_epoch=2,
        best_value=75.0,
        last=last,
        records=(record(1, None), record(2, 75.0)),
        skipped=("a.jpg",),
        seconds=2.0,
    )
    values = json.loads(json.dumps(result.to_dict()))
    assert (values["run_dir"], values["skipped"], values["last"]["num_images"]) == ("runs/a", ["a.jpg"], 8)
    assert [each["metrics"] for each in values["records"]] == [{}, {"acc1": 75.0, "acc5": 100.0}]
    assert (values["select"], values["best_value"]) == ("acc1", 75.0)


def test_figures_of_the_task_have_columns_and_few_classes_too() -> None:
    figures = {
        "map": 50.0,
        "macro_f1": 40.0,
        "micro_f1": 45.0,
        "subset_acc": 30.0,
        "ap/a,b": 20.0,
        "f1/a,b": 10.0,
    }
    records = [replace(record(1, None), metrics={}), replace(record(2, 75.0), metrics=figures)]
    rows = list(csv.DictReader(io.StringIO(metrics_table(records, task="multilabel"))))
    assert list(rows[0])[3:8] == ["val_loss", "map", "macro_f1", "micro_f1", "subset_acc"]
    assert list(rows[0])[-2:] == ["ap/a,b", "f1/a,b"]
    assert [row["ap/a,b"] for row in rows] == ["", "20"]


def test_a_class_has_no_column_where_there_are_very_many() -> None:
    for number, has in ((MAX_CLASS_COLUMNS, True), (MAX_CLASS_COLUMNS + 1, False)):
        figures = {"acc1": 1.0, **{f"recall/{index}": 1.0 for index in range(number)}}
        header = metrics_table([replace(record(1, 1.0), metrics=figures)]).splitlines()[0]
        assert ("recall/0" in header) is has


def test_the_best_epoch_is_the_first_of_the_best_figure() -> None:
    records = [
        replace(record(number, 1.0), metrics={"acc1": acc1, "recall/a": recall}, val_loss=loss)
        for number, (acc1, recall, loss) in enumerate([(1, 9, 0.5), (3, 8, 0.4), (3, 9, 0.6)], start=1)
    ]
    chosen = {select: best_record(records, select) for select in ("acc1", "recall/a", "loss", "map")}
    assert {name: best and best.epoch for name, best in chosen.items()} == {
        "acc1": 2,
        "recall/a": 1,
        "loss": 2,
        "map": None,
    }
    assert best_record([record(1, None)], "loss") is None


def test_a_record_comes_back_also_from_before_there_were_other_figures() -> None:
    one = record(2, 75.0)
    assert EpochRecord.from_dict(json.loads(json.dumps(one.to_dict()))) == one
    older = {name: value for name, value in one.to_dict().items() if name != "metrics"}
    assert EpochRecord.from_dict(older | {"acc1": 75.0, "acc5": 100.0}) == one
    assert EpochRecord.from_dict(older | {"acc1": None, "acc5": None}).metrics == {}


def test_named_values_are_the_line_of_metrics_csv():
    record = EpochRecord(
        epoch=2,
        step=6,
        train_loss=0.5,
        val_loss=None,
        metrics={"acc1": 50.0, "recall/a": 25.0},
        lr=0.1,
        weight_decay=0.0,
        seconds=1.0,
        images_per_second=3.0,
        data_wait=0.0,
    )
    values = named_values(record)
    row = dict(zip(*(line.split(",") for line in metrics_table([record]).splitlines()), strict=True))
    assert {name: f"{value:g}" for name, value in values.items()} == {k: v for k, v in row.items() if v}
    many = {f"recall/{index}": 1.0 for index in range(101)}
    assert "recall/3" not in named_values(replace(record, metrics=many))
