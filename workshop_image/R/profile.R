
# PDF from R Markdown where there is no TeX.
setHook(packageEvent("rmarkdown", "onLoad"), function(...) {
  if (!nzchar(Sys.which("pdflatex"))) {
    namespace <- asNamespace("rmarkdown")
    unlockBinding("pdf_document", namespace)
    sys.source("/opt/jupyter/share/R/pdf_document.R", namespace)
    lockBinding("pdf_document", namespace)
  }
})
