"""One number of threads, for fastnn.bench.harness."""

import sys

from fastnn.bench.harness import main

sys.exit(main(sys.argv[1:]))
