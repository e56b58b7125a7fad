"""The page's views: one blueprint each."""
