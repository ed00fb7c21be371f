"""The documentation: pages in Markdown, and in `site` what makes a site of them. No part of the package."""
