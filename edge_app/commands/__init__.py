"""The commands of the device, one module each: options, one call of the library, printing."""
