"""Plain loop nests on blocks of sixteen samples; they know no layers and no MPI."""
