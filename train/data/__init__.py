"""Images for training: generated, reviewed, augmented, in batches."""
