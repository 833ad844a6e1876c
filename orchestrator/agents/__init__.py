"""What an agent's author touches, and how one attempt of a step is run. No Celery in here."""
