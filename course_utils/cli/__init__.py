"""The `course` command: `main` reads the arguments, the other files hold the commands."""
