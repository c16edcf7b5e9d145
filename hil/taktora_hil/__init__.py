"""Gates, rigs and pytest worlds of taktora: where a test meets real protocol stacks and real hardware."""
