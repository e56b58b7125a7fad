"""Whether the images that come are still those that the bundle was made for."""
