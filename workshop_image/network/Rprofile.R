
# Packages that visitors install go where they may write.
local({
    own <- Sys.getenv("R_LIBS_USER")
    if (nzchar(own) && (dir.exists(own) || dir.create(own, FALSE, TRUE))) .libPaths(c(own, .libPaths()))
})

# Where there is no network, R says so at once, instead of naming a host or calling a package unavailable: in front of the
# functions by which it, and the package curl, come to packages and files of other places.
if (Sys.getenv("TMPNB_EGRESS") == "none") local({
    about <- "This notebook has no network: nothing outside of it can be reached."
    packages <- paste(
        "This notebook has no network, so that packages cannot be installed.",
        "What is there: rownames(installed.packages())"
    )
    outside <- "^(https?|ftps?)://(?!localhost|127[.]|\\[::1\\])"
    guard <- function(places, name, argument, text = about) {
        guarded <- get(name, places[[1]])
        body(guarded) <- bquote({
            if (is.character(.(as.name(argument))) && any(grepl(.(outside), .(as.name(argument)), perl = TRUE)))
                stop(.(text), call. = FALSE)
            .(body(guarded))
        })
        for (place in places) {
            unlockBinding(name, place)
            assign(name, guarded, place)
            lockBinding(name, place)
        }
    }
    for (name in c("file", "url")) guard(list(baseenv()), name, "description")
    setHook(packageEvent("utils", "attach"), function(...) {
        places <- list(asNamespace("utils"), as.environment("package:utils"))
        guard(places, "available.packages", "contriburl", packages)
        guard(places, "download.file", "url")
    })
    setHook(packageEvent("curl", "onLoad"), function(...) {
        functions <- c("curl", "curl_download", "curl_fetch_disk", "curl_fetch_memory", "curl_fetch_stream")
        for (name in functions) guard(list(asNamespace("curl")), name, "url")
    })
})
