"""The part of limiar that a device runs: bundles, image rules, runtimes, sources, store and the `limiar` command."""

__version__ = "0.1.0"
APP = f"limiar {__version__}"  # the name in every result
