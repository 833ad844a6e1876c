"""The Workflows pages inside Flower, and the JSON API beside them. It shows and steers through `Client`; it owns no state."""
