{% include "copy.js" %}
{% include "keeping.js" %}
