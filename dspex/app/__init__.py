"""Floor 5: the App that owns every service, and the handles that a user holds."""
