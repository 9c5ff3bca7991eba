"""Running arms and seeds, and keeping their records."""
