"""All that the page says, in English and Portuguese side by side: key -> (English, Portuguese)."""
