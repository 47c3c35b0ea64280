"""The network (Muse Glimmer: decoder and vision tower), checkpoints in and out."""
