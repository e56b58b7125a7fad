"""What Linux gives, with its errors in one line."""
