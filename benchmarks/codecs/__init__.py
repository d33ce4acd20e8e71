"""The codecs of the comparison, one class each: see :mod:`benchmarks.codecs.base`."""
