"""The command line: `tmpnb-py serve`, `tmpnb-py image build`, and the operator's commands."""
