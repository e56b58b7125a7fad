"""From frames to answers: `limiar camera`."""
