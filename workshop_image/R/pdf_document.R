# R Markdown's `pdf_document` without TeX: pandoc makes HTML, and the program that prints notebooks prints it.
#
# Evaluated in rmarkdown's namespace when that is loaded (profile.R), so that documents with
# `output: pdf_document` render unchanged. Ignores options that only TeX supports (templates, engines, headers).

pdf_document <- function(toc = FALSE, toc_depth = 2, number_sections = FALSE, fig_width = 6.5, fig_height = 4.5,
                         fig_caption = TRUE, dev = "png", df_print = "default", highlight = "default",
                         keep_md = FALSE, citation_package = "default", md_extensions = NULL, pandoc_args = NULL, ...) {
  if (!dev %in% c("png", "svg", "jpeg")) dev <- "png" # "pdf" and "cairo_pdf" are TeX's
  style <- if (identical(highlight, "default")) "tango" else highlight
  args <- c("--standalone", "--mathjax", "--metadata", "document-css=false", rmarkdown:::pandoc_toc_args(toc, toc_depth),
            if (number_sections) "--number-sections",
            if (is.null(style)) "--no-highlight" else c("--highlight-style", style), pandoc_args)
  rmarkdown::output_format(
    knitr = rmarkdown::knitr_options(opts_chunk = list(
      dev = dev, dpi = 192, fig.width = fig_width, fig.height = fig_height)),
    pandoc = rmarkdown::pandoc_options(
      to = "html5", from = rmarkdown::from_rmarkdown(fig_caption, md_extensions), args = args, ext = ".pdf",
      convert_fun = function(output, input_files, to, from, citeproc, args, verbose, ...) {
        page <- file.path(normalizePath(dirname(input_files[[1]])), paste0(".", basename(output), ".html"))
        on.exit(unlink(page))
        rmarkdown::pandoc_convert(input_files, to = to, from = from, output = page, citeproc = citeproc,
                                  options = args, verbose = verbose)
        program <- c("/opt/jupyter/share/tmpnb/tmpnb_pdf.py", page, file.path(dirname(output), basename(output)))
        if (system2("/opt/jupyter/bin/python", shQuote(program)) != 0) {
          stop("The PDF could not be made. Most often memory is short: restart the kernel, or render to HTML.",
               call. = FALSE)
        }
      }),
    keep_md = keep_md, clean_supporting = TRUE, df_print = df_print)
}
