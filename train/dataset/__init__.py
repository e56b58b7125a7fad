"""Labelled images, their splits and groups: numpy alone, since convert reads them too."""
