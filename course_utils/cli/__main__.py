"""`python -m course_utils.cli` is the command `course`."""

from course_utils.cli.main import main

raise SystemExit(main())
