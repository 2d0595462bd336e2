"""What happens later: scheduled messages, recurring schedules, housekeeping."""
