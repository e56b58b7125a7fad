"""A bundle scored on labelled images, on this machine. Needs a device's packages alone; the page needs jinja2 too."""
