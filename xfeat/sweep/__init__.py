"""Many trainings of one method, and the one to keep."""
