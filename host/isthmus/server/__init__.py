"""The decoding server: coded frames in over several links, answers out."""
