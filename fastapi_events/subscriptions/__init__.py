"""Who hears an event: functions, the patterns they listen to, and how they are called."""
