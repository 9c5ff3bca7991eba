"""What a run costs, what it may spend, and what it really spent."""
