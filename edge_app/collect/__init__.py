"""The receiving end of a fleet: one database of all devices, and roll-outs."""
