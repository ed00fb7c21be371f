# Start R's kernel. The argument is Jupyter's connection file.

# Interactive plots go as HTML, which brings all along that draws them. As JSON for plotly's extension of JupyterLab,
# which would be preferred there, what plot_ly() makes comes without its data, so that nothing is drawn.
invisible(loadNamespace("IRdisplay"))
options(jupyter.display_mimetypes = setdiff(getOption("jupyter.display_mimetypes"), "application/vnd.plotly.v1+json"))

# base64enc::dataURI() makes a list with an element for each byte of a file: 270 MB for plotly.js, which one plot may
# survive in a container with 512 MiB, and two do not.
utils::assignInNamespace("data_uris", function(..., mime = "", encoding = "base64", files) {
  vapply(files, function(file) paste0("data:", mime, ";base64,", base64enc::base64encode(file)), "")
}, "repr")

IRkernel::main()
