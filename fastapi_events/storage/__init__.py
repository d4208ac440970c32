"""What survives a crash: events on their way, events already handled, events given up, and order."""
