
# Settings for notebooks. R reads them at each start, so they are short, and load nothing.

options(
  repr.plot.res = 144, jupyter.plot_scale = 1.5, # 96 pixels of the screen per inch: text in plots is as large as beside them
  jupyter.pager_classes = "help_files_with_topic" # a pager silently drops lists of vignettes, data sets and demos
)

# Help and vignettes are HTML pages of a server that only this container can reach, so a cell shows them.
if (Sys.getenv("JPY_PARENT_PID") != "") options(browser = function(url) {
  path <- sub("^(file://|http://[^/]+)", "", sub("[?#].*", "", url))
  parts <- strsplit(sub("^/library/", "", path), "/")[[1]]
  file <- if (startsWith(path, "/library/")) {
    do.call(system.file, c(as.list(parts[-1]), package = parts[1]))
  } else if (startsWith(path, "/session/")) file.path(tempdir(), basename(path)) else path
  if (!file.exists(file) || !grepl("[.]html?$", file)) {
    message("This cannot be opened in a notebook: ", url)
  } else {
    page <- paste(readLines(file, warn = FALSE), collapse = "\n")
    IRdisplay::publish_mimebundle(list("text/html" = page), metadata = list("text/html" = list(isolated = TRUE)))
  }
  invisible()
})

# PDF from R Markdown without TeX.
setHook(packageEvent("rmarkdown", "onLoad"), function(...) {
  if (!nzchar(Sys.which("pdflatex"))) {
    namespace <- asNamespace("rmarkdown")
    unlockBinding("pdf_document", namespace)
    sys.source("/opt/jupyter/share/R/pdf_document.R", namespace)
    lockBinding("pdf_document", namespace)
  }
})
