"""The Workflows pages inside Flower, and the JSON API beside them.

They show and steer through `Client`, and own no state but who is logged in.
"""
