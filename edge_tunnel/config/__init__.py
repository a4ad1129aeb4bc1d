"""The config room: what a user wrote down, made into typed settings. A leaf: no trio in here."""
