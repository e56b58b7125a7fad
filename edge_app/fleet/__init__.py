"""A device in a fleet: rows and status go up by MQTT, bundles come down by HTTPS."""
