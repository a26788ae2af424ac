"""What happens when ranks die, hang or differ: recovery, comparison of replicas, watchdog, diagnosis."""
