"""Startup checks: wrong settings, event names that are not in the past tense."""
