"""One file a command: options, then one call of a public function, then printing."""
