"""`limiar sweep`: many trainings, one of them best."""
