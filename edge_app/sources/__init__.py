"""Where images come from: files here, cameras in a child process."""
