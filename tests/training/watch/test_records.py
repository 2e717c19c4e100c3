"""What a run tells: its epochs as a table, its end as plain values."""

import csv
import io
import json
from pathlib import Path

from mobileone.evaluation.metrics import EvalResult
from mobileone.training.watch.records import COLUMNS, WALL_CLOCK, EpochRecord, FitResult, metrics_table


def record(epoch: int, acc1: float | None) -> EpochRecord:
    return EpochRecord(
        epoch=epoch,
        step=3 * epoch,
        train_loss=1 / 3,
        val_loss=None if acc1 is None else 0.5,
        acc1=acc1,
        acc5=None if acc1 is None else 100.0,
        lr=1e-4,
        weight_decay=1e-5,
        seconds=1234.5678,
        images_per_second=10.0,
        data_wait=0.125,
    )


def test_the_table_has_a_line_an_epoch_and_nothing_where_nothing_was_evaluated() -> None:
    rows = list(csv.DictReader(io.StringIO(metrics_table([record(1, None), record(2, 75.0)]))))
    assert list(rows[0]) == list(COLUMNS.values())
    assert [row["acc@1"] for row in rows] == ["", "75"]
    assert (rows[1]["train_loss"], rows[1]["seconds"], rows[1]["lr"]) == ("0.333333", "1234.57", "0.0001")
    assert set(WALL_CLOCK) < set(rows[0])


def test_a_result_goes_into_json() -> None:
    last = EvalResult(num_images=8, acc1=75.0, acc5=100.0, loss=0.5)
    result = FitResult(
        run_dir=Path("runs/a"),
        best_epoch=2,
        best_acc1=75.0,
        last=last,
        records=(record(1, None), record(2, 75.0)),
        skipped=("a.jpg",),
        seconds=2.0,
    )
    values = json.loads(json.dumps(result.to_dict()))
    assert (values["run_dir"], values["skipped"], values["last"]["num_images"]) == ("runs/a", ["a.jpg"], 8)
    assert [each["acc1"] for each in values["records"]] == [None, 75.0]
