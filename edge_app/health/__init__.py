"""How a device is doing: `limiar status`, metrics for Prometheus, log lines."""
