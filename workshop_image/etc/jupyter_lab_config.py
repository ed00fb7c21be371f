"""JupyterLab without features that phone home or would change a read-only installation."""

c = get_config()  # noqa: F821 (the loader defines it)

c.LabApp.extension_manager = "readonly"
c.LabApp.check_for_updates_class = "jupyterlab.NeverCheckForUpdate"
c.LabApp.news_url = None
