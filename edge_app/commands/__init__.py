"""The commands of the device, a module each: options, one call of the library, printing."""
