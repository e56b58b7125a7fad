"""A measured figure in words."""

from limiar.edge_app.bundle.manifest import Metric


def metric_title(name: str) -> str:
    """A metric's name as the head of a column."""
    if name.startswith("recall_"):
        return f"recall of {name.removeprefix('recall_')}"
    if name.startswith("auc_"):
        return f"AUC of {name.removeprefix('auc_')}"
    return {"auc": "AUC", "ece": "ECE", "nll": "NLL", "brier": "Brier"}.get(name, name.replace("_", " "))


def share(value: float) -> str:
    """A number from 0 to 1, with three decimals."""
    return f"{value:.3f}"


def interval(metric: Metric) -> str:
    """A metric with its 95 % interval."""
    return f"{metric.value:.3f} ({metric.low:.3f} to {metric.high:.3f})"
