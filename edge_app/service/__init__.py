"""The service: a supervised tree of processes that answers folders and cameras for a year: `limiar run`."""
