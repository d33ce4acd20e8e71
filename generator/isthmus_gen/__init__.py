"""The offline half of Isthmus: calibration, generation, verification and evaluation.

``isthmus_gen.api`` holds the functions to call from Python.
"""
