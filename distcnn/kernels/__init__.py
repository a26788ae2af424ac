"""Kernels: loop nests over blocks of sixteen samples, compiled by Numba. They depend neither on layers nor on MPI."""
