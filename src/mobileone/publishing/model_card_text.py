"""README.md of a model on the hub: metadata that its search reads, and words for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mobileone.checkpoint.inspect import ModelCard
from mobileone.decision import Decision
from mobileone.evaluation.metric_names import title_of
from mobileone.input_spec import size_text
from mobileone.outside_text import printable
from mobileone.profiling.cost import network_cost
from mobileone.publishing.exported_files import ExportedFile
from mobileone.publishing.license_terms import LicenseTerms
from mobileone.publishing.provenance import Provenance
from mobileone.variants import VARIANTS

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

# What the hub calls our figures; the others go under our own names.
HUB_METRICS = {"acc1": "accuracy", "acc5": "top-5 accuracy", "macro_f1": "f1", "micro_f1": "f1"}
MAX_NAMED = 12
# Of a run, what a reader asks first; the rest lies in its own config.json.
SETTINGS = (
    "epochs",
    "batch_size",
    "task",
    "seed",
    "probe.views",
    "optim.name",
    "optim.base_lr",
    "optim.schedule",
    "optim.ema_decay",
    "mix.mixup",
    "mix.cutmix",
    "compute.amp",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CardFacts:
    """Everything that a card is written from.

    Attributes:
        repo_id: `owner/name`.
        card: of the model as it is pushed.
        origin: where it comes from.
        terms: its licence.
        datasets: the hub's names of what it was trained on.
        exported: what lies beside the weights.
    """

    repo_id: str
    card: ModelCard
    origin: Provenance
    terms: LicenseTerms
    datasets: Sequence[str]
    exported: Sequence[ExportedFile]


def write_card(facts: CardFacts) -> str:
    """The whole text of README.md."""
    sections = (
        _head(facts),
        _use(facts),
        _figures(facts.origin),
        _decision(facts.card.decision),
        _training(facts.origin),
        _exported(facts.exported),
        _license(facts.terms),
    )
    return f"---\n{_metadata(facts)}\n---\n\n" + "\n\n".join(filter(None, sections)) + "\n"


def _metadata(facts: CardFacts) -> str:
    from huggingface_hub import ModelCardData

    card, origin, terms = facts.card, facts.origin, facts.terms
    known: dict[str, Any] = {
        "license": terms.license,
        "license_name": terms.license_name,
        "license_link": terms.link,
        "library_name": "timm" if opens_in_timm(facts) else "mobileone",
        "pipeline_tag": "image-classification" if card.num_classes else "image-feature-extraction",
        "tags": ["image-classification", "mobileone"],
        "datasets": list(facts.datasets) or None,
    }
    if origin.published is not None and not origin.is_published:
        known["base_model"] = f"timm/{origin.published.variant}.apple_in1k"
    if origin.published is not None and origin.published.licence == "Apache-2.0":
        known.pop("base_model", None)  # mmpretrain's are not on the hub
    results = _results(facts)
    if results:
        known |= {"model_name": facts.repo_id.rpartition("/")[2], "eval_results": results}
    return str(ModelCardData(**known).to_yaml()).strip()


def _results(facts: CardFacts) -> list[EvalResult]:
    """The figures for the model-index, each with its protocol."""
    from huggingface_hub import EvalResult

    origin, card = facts.origin, facts.card
    dataset = facts.datasets[0] if len(facts.datasets) == 1 else None
    return [
        EvalResult(
            task_type="image-classification",
            task_name="Image classification" if card.task == "singlelabel" else "Several labels an image",
            dataset_type=dataset or origin.dataset or "unknown",
            dataset_name=dataset or origin.dataset or "unknown",
            dataset_split="validation",
            metric_type=HUB_METRICS.get(name, name),
            metric_name=f"{title_of(name)}, %",
            metric_value=round(value, 4),
            metric_args={"protocol": origin.protocol},
        )
        for name, value in origin.figures.items()
    ]


def opens_in_timm(facts: CardFacts) -> bool:
    """Whether `timm.create_model` makes this network: train form, a published variant, no unit dilated."""
    card = facts.card
    is_known = VARIANTS.get(card.variant.name) == card.variant
    return card.form == "train" and is_known and card.output_stride != 8


def _head(facts: CardFacts) -> str:
    card, spec = facts.card, facts.card.input_spec
    cost = network_cost(
        card.variant,
        input_size=spec.size,
        form="inference",
        num_classes=card.num_classes,
        in_chans=card.in_chans,
        output_stride=card.output_stride,
    )
    form = "train form, with its branches" if card.form == "train" else "inference form, fused"
    lines = [
        f"# {facts.repo_id.rpartition('/')[2]}",
        "",
        f"A MobileOne image classifier ({card.variant.name}), in {form}."
        if card.num_classes
        else f"A MobileOne backbone ({card.variant.name}), in {form}.",
        "",
        f"- Parameters: {card.num_parameters:,}; fused {cost.params:,}",
        f"- Multiply-accumulates: {cost.macs / 1e6:,.0f} M an image, fused, at {size_text(spec.size)} px",
        f"- Input: {card.in_chans} × {spec.height} × {spec.width}, {spec.view}, mean {spec.mean}, "
        f"std {spec.std}",
    ]
    if card.num_classes:
        lines.append(f"- Classes: {card.num_classes:,}{_names(card.class_names)}")
    return "\n".join(lines)


def _names(names: Sequence[str] | None) -> str:
    if not names:
        return ""
    more = f" and {len(names) - MAX_NAMED:,} more" if len(names) > MAX_NAMED else ""
    return f" ({', '.join(map(_plain, names[:MAX_NAMED]))}{more}; all are in config.json)"


def _use(facts: CardFacts) -> str:
    repo, card = facts.repo_id, facts.card
    python = (
        f'predictor = mobileone.Predictor("hf:{repo}")\nprint(predictor("photo.jpg"))'
        if card.num_classes
        else f'model = mobileone.load_model("hf:{repo}", form="inference")'
    )
    command = f"mobileone predict hf:{repo} photo.jpg" if card.num_classes else f"mobileone info hf:{repo}"
    text = f"## Use\n\n```\n{command}\n```\n\n```python\nimport mobileone\n\n{python}\n```"
    if opens_in_timm(facts):
        text += (
            f'\n\n```python\nimport timm\n\nmodel = timm.create_model("hf-hub:{repo}", pretrained=True)\n```'
        )
    return text


def _figures(origin: Provenance) -> str:
    if not origin.figures:
        return "## Figures\n\nNone are recorded with the weights."
    rows = [f"| {title_of(name)} | {value:.2f} % |" for name, value in origin.figures.items()]
    measured = "" if origin.dataset is None else f" on the validation images of {_plain(origin.dataset)}"
    table = "\n".join(["| figure | value |", "|---|---|", *rows])
    return f"## Figures\n\n{table}\n\nMeasured{measured}: {origin.protocol}."


def _decision(decision: Decision | None) -> str:
    if decision is None:
        return ""
    rows = [
        ("temperature", _one_or_count(decision.temperatures)),
        ("bias", _one_or_count(decision.biases)),
        ("threshold", _one_or_count(decision.thresholds)),
    ]
    if decision.novelty is not None:
        rows.append((f"least {decision.novelty}", f"{decision.novelty_limit:.4g}"))
    rows += [
        (_plain(name), _plain(f"{value:.4g}" if isinstance(value, float) else str(value)))
        for name, value in decision.evidence.items()
    ]
    lines = "\n".join(f"| {name} | {value} |" for name, value in rows)
    return (
        "## Calibration\n\nProbabilities and sure answers were calibrated; both come with the weights.\n\n"
        f"| | |\n|---|---|\n{lines}"
    )


def _one_or_count(values: Sequence[float]) -> str:
    if len(values) == 1:
        return f"{values[0]:.4g}"
    return f"{min(values):.4g} to {max(values):.4g}, one a class"


def _training(origin: Provenance) -> str:
    if origin.config is None:
        return ""
    settings = origin.config.settings()
    rows = [(name, settings[name]) for name in SETTINGS if name in settings]
    rows += [
        (name, origin.environment[name])
        for name in ("mobileone", "torch", "world_size")
        if name in origin.environment
    ]
    lines = "\n".join(f"| {_plain(str(name))} | {_plain(str(value))} |" for name, value in rows)
    images = "".join(f"\n- {_plain(line)}" for line in origin.fingerprint)
    noted = f"\n\nImages, number and hash of their names:\n{images}" if images else ""
    return f"## Training\n\n| setting | value |\n|---|---|\n{lines}{noted}"


def _exported(files: Sequence[ExportedFile]) -> str:
    if not files:
        return ""
    rows = "\n".join(
        f"| `{_plain(each.path.name)}` | {each.manifest.format}, {each.manifest.precision} "
        f"| {each.manifest.size_bytes / 1e6:.1f} MB | {_plain(_proof(each))} |"
        for each in files
    )
    return (
        "## Exported files\n\nEach with its manifest, `.json` behind its name: input, classes, hashes.\n\n"
        f"| file | kind | size | held against PyTorch |\n|---|---|---|---|\n{rows}"
    )


def _proof(each: ExportedFile) -> str:
    return str(each.manifest.parity or each.manifest.note)


def _license(terms: LicenseTerms) -> str:
    name = terms.license_name or terms.license
    link = f" ({terms.link})" if terms.link else ""
    text = "; its wording is in LICENSE" if terms.text else ""
    return f"## Licence\n\n{_plain(name)}{link}, {terms.reason}{text}."


def _plain(text: str) -> str:
    """Words from elsewhere in Markdown: one line, no cell's end, no markup, no HTML."""
    text = printable(text)
    for mark in "\\`*_[]<>|#":
        text = text.replace(mark, f"\\{mark}")
    return text
